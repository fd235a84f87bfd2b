"""The contract of `bridge.brokers.base`: the same tests for the embedded log, Kafka and RabbitMQ.

A difference that is meant is listed in `conftest.DIFFERENCES` with its reason.
"""
