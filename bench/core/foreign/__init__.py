"""Reading what others wrote: every reader of foreign bytes has a budget, and says what passed it.

`files` opens files and reads text, `documents` parses JSON and YAML, `expansion` bounds what
archives and compressed members become, `opcodes` looks through a pickle before it is loaded.
Bytes are foreign unless bench wrote them and compares their checksum, as in the store.
"""
