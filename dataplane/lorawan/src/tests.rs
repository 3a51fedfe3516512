//! Vectors replayed, and laws tried on random bytes.
