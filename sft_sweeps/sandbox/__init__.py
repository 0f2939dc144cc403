"""Where programs that a model wrote are run: layers of isolation, and the attacks that test them."""
