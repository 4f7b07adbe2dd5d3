"""The demonstration: a support desk whose memory decides whether its answers are right."""
