"""The ingress over real sockets."""
