//! The stream-processing library of Thalweg: a typed DSL, columnar nodes, and the task
//! runtime that drives both.
