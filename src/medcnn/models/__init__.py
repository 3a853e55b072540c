"""A network is a body (images -> features), a head (features -> logits) and a normalisation."""
