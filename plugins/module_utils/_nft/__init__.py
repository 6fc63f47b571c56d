"""This collection's table of nftables."""
