//! Backup copy jobs.
