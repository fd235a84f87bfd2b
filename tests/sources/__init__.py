"""The source: request bodies in, messages out."""
