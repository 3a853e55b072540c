"""The page of `medcnn serve`: what it asks the model, what it keeps, and who may ask."""
