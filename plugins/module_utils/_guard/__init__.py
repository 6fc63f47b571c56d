"""What guests may send: nftables on their links."""
