/*
** window.c - the window, the keys, and the screen's pace: all that is SDL.
**
** SPDX-License-Identifier: MIT
*/
#include <SDL.h>

#include "host.h"

struct window {
  SDL_Window *window;
  SDL_Renderer *renderer;
  SDL_Texture *texture;
};

window *window_open(const char **why) {
  window *v = calloc(1, sizeof *v);
  *why = "no memory";
  if (!v) return NULL;
  SDL_SetHint(SDL_HINT_NO_SIGNAL_HANDLERS, "1");
  if (!SDL_Init(SDL_INIT_VIDEO) &&
      (v->window = SDL_CreateWindow("perilune lander", SDL_WINDOWPOS_CENTERED,
                                    SDL_WINDOWPOS_CENTERED, 2 * W, 2 * H,
                                    SDL_WINDOW_RESIZABLE)) &&
      (v->renderer = SDL_CreateRenderer(v->window, -1,
                                        SDL_RENDERER_PRESENTVSYNC)) &&
      !SDL_RenderSetLogicalSize(v->renderer, W, H) &&
      (v->texture = SDL_CreateTexture(v->renderer, SDL_PIXELFORMAT_RGB888,
                                      SDL_TEXTUREACCESS_STREAMING, W, H)))
    return v;
  *why = SDL_GetError();
  window_close(v);
  return NULL;
}

static int meaning(SDL_Keycode key) {
  switch (key) {
    case SDLK_ESCAPE: return KEY_QUIT;
    case SDLK_SPACE: return KEY_PAUSE;
    case SDLK_s: return KEY_SLOW;
    case SDLK_r: return KEY_RELOAD;
    case SDLK_RETURN: return KEY_SKIP;
    default: return KEY_NONE;
  }
}

int window_key(window *v) {
  SDL_Event e;
  (void)v;
  while (SDL_PollEvent(&e)) {
    if (e.type == SDL_QUIT) return KEY_QUIT;
    if (e.type != SDL_KEYDOWN || e.key.repeat) continue;
    int key = meaning(e.key.keysym.sym);
    if (key) return key;
  }
  return KEY_NONE;
}

int window_stick(window *v) {
  const Uint8 *down = SDL_GetKeyboardState(NULL);
  (void)v;
  return (down[SDL_SCANCODE_LEFT] ? STICK_LEFT : 0) |
         (down[SDL_SCANCODE_RIGHT] ? STICK_RIGHT : 0) |
         (down[SDL_SCANCODE_UP] ? STICK_UP : 0);
}

void window_show(window *v, const canvas *c) {
  SDL_UpdateTexture(v->texture, NULL, c->px, sizeof c->px[0]);
  SDL_RenderClear(v->renderer);
  SDL_RenderCopy(v->renderer, v->texture, NULL, NULL);
  SDL_RenderPresent(v->renderer);
}

void window_close(window *v) {
  if (!v) return;
  if (v->texture) SDL_DestroyTexture(v->texture);
  if (v->renderer) SDL_DestroyRenderer(v->renderer);
  if (v->window) SDL_DestroyWindow(v->window);
  free(v);
  SDL_Quit();
}
