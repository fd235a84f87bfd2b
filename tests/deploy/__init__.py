"""Image, Compose file and chart: what can be known without an engine or a cluster, and with one."""
