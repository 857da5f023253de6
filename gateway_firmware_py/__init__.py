"""Edge, box side: Polls become durable Batches and leave."""
