#![cfg_attr(fuzzing, no_main)]

jwks_gate_fuzz::program!(routes);
