pub mod clock;
pub mod request;
pub mod vault;
