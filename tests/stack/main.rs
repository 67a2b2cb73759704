//! Whole deliveries: the production template on the local stack, with IAM enforced, read by official clients.

mod bad_input;
mod contracts;
mod exactly_once;
mod real_data;
mod set_up;
