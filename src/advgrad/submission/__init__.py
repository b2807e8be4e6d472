"""One file for a submission: the project at a commit with its small results, checked and brought back by its hashes."""
