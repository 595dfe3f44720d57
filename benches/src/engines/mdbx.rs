use super::{Engine, Mode};
use crate::data::Shape;
use std::path::Path;
