"""Real Kafka, RabbitMQ and PostgreSQL for tests, each in a folder and on ports of its own.

By hand: `python -m tests.services kafka --port 9092`.
"""
