"""The form of ``records.jsonl``: what many records share is written once and referred to.

`kinds` has the kinds of lines and their JSON schema, ``records.schema.json``; `writing` and
`reading` turn records with all their fields into lines and back. docs/records.md explains an
example line by line.
"""
