"""Networks, heads, Monte-Carlo dropout and semi-supervised losses: torch, with torchvision and timm for backbones."""
