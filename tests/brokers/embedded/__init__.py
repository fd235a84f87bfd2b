"""What is the embedded log's own: its files, its one writer, its leases."""
