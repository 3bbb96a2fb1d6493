"""How the root reaches hosts by SSH: logins, host keys, identities, and signatures for relays."""
