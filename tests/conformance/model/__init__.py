"""A small, slow server of the protocol over a folder of fixtures: what the suite itself is tried on."""
