"""The layers around the routes: keys, limits, what surrounds a request."""
