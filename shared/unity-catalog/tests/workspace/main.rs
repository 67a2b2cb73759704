//! The client and the backend against the fake workspace, over real HTTP.

#[cfg(test)]
mod backend;
#[cfg(test)]
mod client;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod hosted;
#[cfg(test)]
mod recipients;
#[cfg(test)]
mod revocation;
#[cfg(test)]
mod set_up;
#[cfg(test)]
mod world;
