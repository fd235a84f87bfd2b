"""Write a consumer of your own: `from consumers import Consumer, ContactCreated, Reject`."""
