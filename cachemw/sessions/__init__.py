"""Sessions that live in the store: no lost updates, and ASVS 5 by default."""
