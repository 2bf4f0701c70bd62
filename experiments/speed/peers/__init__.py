"""Other libraries and ours on the same problems, in turn: `make bench PEERS=1`.

The peers have an environment of their own, .venv-peers, from requirements.txt. Every side of a comparison is a process
that answers with measurements: `ours` in our environment, `theirs` in that of the peers. `comparisons` starts them,
asks them in turn and writes the record, from which `report` makes the table and the picture.
"""
