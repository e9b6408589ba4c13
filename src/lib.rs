pub mod child;
pub mod clock;
pub mod request;
pub mod store;
pub mod vault;
