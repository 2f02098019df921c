"""The LSeg networks: image encoders, fusion decoder, text encoders, weights."""
