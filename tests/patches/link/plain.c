/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * No manifest: the exported functions replace their namesakes, nothing else does.
 */
int exported_data = 4;

int visible(void);
int visible_too(void);
__attribute__((visibility("hidden"))) int hidden(void);
__attribute__((weak)) int vague(void);
extern int greeted;

static int internal(void)
{
	return greeted;
}

int hidden(void)
{
	return internal() + exported_data;
}

int vague(void)
{
	return 5;
}

int visible(void)
{
	return hidden() + vague();
}

int visible_too(void)
{
	return visible() + 1;
}
