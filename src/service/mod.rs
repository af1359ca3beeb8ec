//! Use cases over the ports, shared by everything that changes devices: API, inbox, dispatchers, campaigns, janitor.

pub mod edit;
