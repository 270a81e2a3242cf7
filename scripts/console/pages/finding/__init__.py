"""Events and customers: listed, found by what clients call them, and explained."""
