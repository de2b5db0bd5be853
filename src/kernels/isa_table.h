// EKD_TABLE(kName) is kNamePlain, kNameAvx2 or kNameAvx512, by the instruction set a file is compiled for (EKD_ISA).
#pragma once

#define EKD_TABLE_JOINED(name, isa) name##isa
#define EKD_TABLE_OF(name, isa) EKD_TABLE_JOINED(name, isa)
#define EKD_TABLE(name) EKD_TABLE_OF(name, EKD_ISA)
