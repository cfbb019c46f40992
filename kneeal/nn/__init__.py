"""Networks, Monte-Carlo dropout and the consistency loss: torch only."""
