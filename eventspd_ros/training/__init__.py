"""Training: losses, the loop, pretraining of F³ and training of depth. Imports model, datasets and evaluation."""
