"""The Kafka adapter beyond the contract, each promise on a real broker that is hurt."""
