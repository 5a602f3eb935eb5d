"""gameoflife: play Life with a swarm of clients."""
