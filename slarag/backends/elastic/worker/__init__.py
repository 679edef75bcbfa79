"""The process of one device: attention for its own sequences, experts for everybody's."""
