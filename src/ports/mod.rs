//! Small traits by role: what the broker needs of a store, of WNS and of the clock.
