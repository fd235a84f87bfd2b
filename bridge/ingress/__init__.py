"""The ingress: from an HTTP request to a confirmed publish."""
