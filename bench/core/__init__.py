"""What every other package stands on and that knows nothing of models or data.

Errors and exit codes, content hashes, parameters, folders and atomic writes, the store, records,
progress, the environment a run was made in.
"""
