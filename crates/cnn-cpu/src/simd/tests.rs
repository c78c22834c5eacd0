//! Every vector operation against plain arithmetic, on every instruction set of this CPU.
