"""The application of these tests in FastAPI, wrapped in one line."""

from fastapi import FastAPI, HTTPException
from fastapi.responses import PlainTextResponse

from red_middleware import RedASGIMiddleware

from . import marks, starlette_app

app = FastAPI()


@app.get("/items/{number}", response_class=PlainTextResponse)
async def item(number: int) -> str:
    if number >= 1000:
        raise HTTPException(404)
    return f"item {number}"


for _path, _served in starlette_app.ROUTES.items():
    if _path != "/items/{number:int}":
        app.api_route(_path, methods=["GET", "HEAD"])(_served)
app.post("/upload")(starlette_app.upload)
app.add_middleware(RedASGIMiddleware, exclude=["/health"])
marks.leave_numbers_at_exit()
