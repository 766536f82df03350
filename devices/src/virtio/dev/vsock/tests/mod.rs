//! The device through its rings and its sockets, with no VM: a guest's half of the queues on one side,
//! real Unix sockets on the other.

mod bulk;
mod clients;
mod closing;
mod connecting;
mod data;
mod fixture;
mod hostile;
mod lifecycle;
mod limits;
mod messages;
