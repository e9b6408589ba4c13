pub mod compose;
pub mod dstack;
pub mod owner;
pub mod request;
pub mod safe;
