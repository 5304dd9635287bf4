/* SPDX-License-Identifier: LGPL-2.1-or-later */
extern long hidden_part(long x) __attribute__((visibility("hidden")));
extern long hidden_data __attribute__((visibility("hidden")));
extern long protected_part(long x) __attribute__((visibility("protected")));
long classify(unsigned kind, double value);

long hidden_data = 5;

long hidden_part(long x)
{
	return x + 2;
}

long protected_part(long x)
{
	return x + 3;
}

/* A table of jumps where the compiler makes one, and constants for the floating-point unit. */
long classify(unsigned kind, double value)
{
	switch (kind) {
	case 0:
		return (long)(value * 1.25);
	case 1:
		return hidden_data;
	case 2:
		return -1;
	case 3:
		return hidden_part(protected_part(0));
	case 4:
		return (long)(value * 3.75);
	case 5:
		return protected_part(7);
	case 6:
		return 8;
	default:
		return 0;
	}
}
