"""A trained network of an archive, attacked anew, with pictures."""
