pub mod clock;
pub mod phala;
pub mod request;
pub mod vault;
