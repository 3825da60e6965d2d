"""Studies of a user's own files: nets as they lie on disk, images from them, their numbers, entries of params.yaml."""
