//! A decorator that counts.
