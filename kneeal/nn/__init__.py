"""Networks, Monte-Carlo dropout and the consistency loss: torch only, and torchvision for its backbones."""
